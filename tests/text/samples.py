"""Ordinary writing, which must leave no trace, in many scripts and registers."""

from __future__ import annotations

ORDINARY: dict[str, str] = {
    "English": "I was charged twice for the same card payment; where's my refund? It's 3 days late.",
    "German": "Die Überweisung wurde nicht ausgeführt – können Sie das bitte prüfen? Grüße aus Köln.",
    "French": "Le café où j’ai payé m’a débité deux fois : 4,50 € au lieu de 2,25 €. Merci d’avance !",
    "Vietnamese": "Tôi muốn biết tại sao thẻ của tôi không được chấp nhận ở cửa hàng hôm qua.",
    "Polish": "Proszę o zwrot pieniędzy, płatność została pobrana dwukrotnie. Żółć, źdźbło.",
    "Turkish": "İstanbul'daki şubede kartım yutuldu, ığdır ve Iğdır.",
    "Russian": "Мой перевод до сих пор не пришёл. Сколько ещё ждать? Всё ли в порядке? СРОЧНО!",
    "Ukrainian": "Чому мій переказ ще не надійшов? Її рахунок заблоковано, об’єкт.",
    "Serbian": "Зашто моја картица није стигла? Љубав, Њујорк, Џон.",
    "Greek": "Γιατί δεν έφτασε η κάρτα μου; ΗΜΕΡΑ ΚΑΛΗ και ευχαριστώ πολύ.",
    "Arabic": "لماذا لم يصل التحويل بعد؟ مُحَمَّد يسأل عن البطاقة رقم ٤٢.",
    "Persian": "می‌خواهم کارت جدیدی بگیرم؛ نمی‌دانم چرا نمی‌رسد.",
    "Urdu": "میرا کارڈ ابھی تک کیوں نہیں آیا؟",
    "Hebrew": "למה הכרטיס שלי לא הגיע? שָׁלוֹם, \u200eABC-123\u200e תודה.",
    "Hindi": "मेरा कार्ड अभी तक क्यों नहीं आया? क्‍या आप मदद कर सकते हैं?",
    "Bengali": "আমার কার্ড এখনও আসেনি কেন? র‍্যাব।",
    "Tamil": "என் அட்டை ஏன் இன்னும் வரவில்லை?",
    "Telugu": "నా కార్డు ఇంకా ఎందుకు రాలేదు? సాఫ్ట్‌వేర్",
    "Malayalam": "എന്റെ കാർഡ് ഇതുവരെ വന്നില്ല. അവന്‍ പറഞ്ഞു.",
    "Sinhala": "ශ්‍රී ලංකාවේ මගේ කාඩ්පත තවම නැහැ.",
    "Thai": "บัตรของฉันยังไม่มาถึง\u200bทำไมคะ น้ำ",
    "Lao": "ເປັນຫຍັງບັດຂອງຂ້ອຍຍັງບໍ່ມາ",
    "Khmer": "ហេតុអ្វី\u200bបាន\u200bជា\u200bកាត\u200bរបស់\u200bខ្ញុំ\u200bមិន\u200bទាន់\u200bមក\u200bដល់",
    "Myanmar": "ကျွန်တော့်ကတ် ဘာကြောင့် မရောက်သေးတာလဲ",
    "Tibetan": "བཀྲ་ཤིས་བདེ་ལེགས།",
    "Georgian": "რატომ არ მოვიდა ჩემი ბარათი?",
    "Armenian": "Ինչու՞ իմ քարտը դեռ չի եկել:",
    "Amharic": "ካርዴ ለምን አልደረሰም?",
    "Chinese": "为什么我的银行卡还没到？请尽快处理，谢谢！葛\U000e0101城",
    "Japanese": "カードがまだ届かないのはなぜですか？Ｔシャツを２枚、ﾊﾞｽで。",
    "Korean": "제 카드가 아직 도착하지 않았어요. ㅋㅋㅋ USB로 보내 주세요.",
    "Mongolian": "ᠮᠣᠩᠭᠣᠯ ᠬᠡᠯᠡ\u180e\u1820",
    "emoji": "Great 👍🏽 work ❤️‍🔥 by the 👩🏽‍💻 👨‍👩‍👧‍👦 team 🏳️‍🌈 🏴󠁧󠁢󠁳󠁣󠁴󠁿 1️⃣ ✅ ☎︎",
    "address": "See https://example.org/wiki/%D0%91%D0%B0%D0%BD%D0%BA%D0%B0?q=card%20lost&page=2#top for more.",
    "identifiers": "order 3f2b8c1e-9d44-4c11-8f0a-6f2d1b7c9e55, commit 9fceb02d0ae598e95dc970b74767f19372d61af8,"
    " IBAN DE89370400440532013000, card 4242 4242 4242 4242, MAC 00:1b:63:84:45:e6, "
    "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "code": "def f(x: int) -> str:\n\treturn '\\n'.join(map(str, range(x)))  # O(n)\nassert f(2) == '0\\n1'\r\n"
    'print("caf\\u00e9", 0xDEADBEEF, b"\\x00\\xff")',
    "camel case": "AbstractSingletonProxyFactoryBeanDefinitionParserConfigurationException in "
    "/usr/local/lib/python3/site-packages/internationalization/localization_of_everything",
    "image": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9Q"
    "DwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "science": "TNFα and IFNγ rose by 5 µm/s; NFκB, PGC1α, β-carotene, ΔG = −3.2 kJ, 5 kΩ, dα/dt, H₂O, E=mc², ½, ™",
    "endings": "Отправил SMSку через VPNом, USBшный кабель, Wi-Fi, PDFка, googlить, 5G-сеть, IT-отдел.",
    "byte order mark": "\ufeffWhere is my card?",
    "line breaks": "first line\r\nsecond\tline\u00a0\u3000third\u2028fourth",
}
